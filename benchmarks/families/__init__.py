"""The rows of the table, a module for each family: who competes, what is asked, what it reads."""
