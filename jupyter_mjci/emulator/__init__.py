"""Stand-ins for both services that need no account. Imports nothing from the rest of the package:

a stand-in that shared the client's code would agree with the client's mistakes.
"""
