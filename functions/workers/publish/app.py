"""DynamoDB stream: publish how jobs have ended."""

from robotchat.aws.publish import Publisher

handler = Publisher()
