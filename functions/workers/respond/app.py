"""SQS: make one response in the background."""

from robotchat.aws.respond import Responder

handler = Responder()
