"""The authorizer of the API: finds the tenant of a key. API Gateway calls it, not a client."""

from robotchat.aws.authorizer import Authorizer
from robotchat.aws.wiring import deployment

handler = Authorizer(lambda: deployment().records)
