"""SQS: take in what producers ask for."""

from robotchat.aws.requests import RequestsConsumer

handler = RequestsConsumer()
