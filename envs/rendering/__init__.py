"""What people see of an environment: boards as text, as pictures, live in the terminal."""
