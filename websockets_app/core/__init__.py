"""What can be decided without asking anybody: no Django, no Channels, no event loop, no clock."""
