"""SQS: run one queued picture job."""

from robotchat.aws.worker import Worker

handler = Worker()
