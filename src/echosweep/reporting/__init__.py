"""Pictures and pages, made from records and images alone: nothing here imports torch."""
