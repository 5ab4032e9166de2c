"""What all tests need."""

import signal

# A run in the background (`nohup`, `&`) is started with Ctrl-C ignored, which tests of Ctrl-C would wait for in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
