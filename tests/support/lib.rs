//! What the end-to-end tests share: the real binary, daemons that live as long as a test, and pictures to send.
