"""The demo page: several users in one browser, with one-click sign-in."""
