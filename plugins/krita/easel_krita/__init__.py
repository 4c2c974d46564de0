"""The Easel panel for Krita. `ui -> model -> client`; only `host` imports the application, so that all the rest runs without
it."""

try:
    import krita  # noqa: F401
except ImportError:
    pass  # under test
else:
    from .host import register

    register()
