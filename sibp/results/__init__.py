"""What runs leave behind: tables and records, the numbers read off them, and how they are shown in a terminal or on a page."""
