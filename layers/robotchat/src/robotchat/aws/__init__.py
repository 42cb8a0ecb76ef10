"""Everything that knows AWS. No other part of the package imports boto3 or Powertools."""
