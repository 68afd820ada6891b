"""`make run`: all of Greendot on one computer, for a first look and for development."""
