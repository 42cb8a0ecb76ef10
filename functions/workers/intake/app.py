"""SQS: take in what producers ask for."""

from robotchat.aws.requests import Intake

handler = Intake()
