"""`make run`: all of Greendot on one computer, for a look and for development."""
