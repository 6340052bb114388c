"""What is measured beside us, written as their documentation writes it: ASGI applications."""
