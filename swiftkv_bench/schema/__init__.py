"""What is read or written: profiles, suites, plans and records, one noun a module."""
