"""`jupyter mjci …`: the sandbox as a server, the demo, and jobs watched or cancelled while a kernel
is busy.
"""
