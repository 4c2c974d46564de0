"""The one folder that touches Krita: the docker, the document, and the settings."""

import json

from krita import DockWidget, DockWidgetFactory, DockWidgetFactoryBase, Krita

from ..client.worker import Worker
from ..model.panel import Panel
from ..ui.panel import PanelView, Relay
from .document import Host

GROUP = "easel"


class Settings:
    """What is remembered, in Krita's own file of settings."""

    def get(self, name, default):
        try:
            return json.loads(Krita.instance().readSetting(GROUP, name, "")) or default
        except ValueError:
            return default

    def set(self, name, value):
        Krita.instance().writeSetting(GROUP, name, json.dumps(value))


class EaselDocker(DockWidget):
    def __init__(self):
        super().__init__()
        self.setWindowTitle("Easel")
        settings, relay = Settings(), Relay()
        worker = Worker(relay.note.emit, settings.get("address", ""), settings.get("token", ""))
        self._relay = relay  # lives as long as the docker
        self.panel = Panel(worker, Host(), settings)
        self.view = PanelView(self.panel, relay)
        self.setWidget(self.view)
        Krita.instance().notifier().applicationClosing.connect(self.panel.close)
        self.panel.start()

    def canvasChanged(self, canvas):
        pass


def register():
    """Krita makes the docker when a window opens."""
    factory = DockWidgetFactory("easel", DockWidgetFactoryBase.DockRight, EaselDocker)
    Krita.instance().addDockWidgetFactory(factory)
