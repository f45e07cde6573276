"""Programs that maintain the repository; no part of the package."""
