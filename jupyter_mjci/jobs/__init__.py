"""Everything around a job: submission, polling, batches and webhooks."""
