"""SQS: make one attempt at a webhook delivery."""

from robotchat.aws.deliver import Deliverer

handler = Deliverer()
