"""The widgets of the panel. Everything that is decided, the model decides."""

from . import QtCore, QtGui, QtWidgets

#: Typing rests for this long before live mode tries what is written.
LIVE_PAUSE_MS = 400


class Relay(QtCore.QObject):
    """Carries notes of the client's threads into the one that draws."""

    note = QtCore.pyqtSignal(object)


class PanelView(QtWidgets.QWidget):
    def __init__(self, panel, relay):
        super().__init__()
        self.panel = panel
        self._typing = QtCore.QTimer(self, singleShot=True, interval=LIVE_PAUSE_MS)
        self._typing.timeout.connect(self._typed)
        self._shown = b""
        self._build()
        relay.note.connect(panel.take)
        panel.changed = self.draw
        self.draw()

    def _build(self):
        self.instruction = QtWidgets.QComboBox(editable=True)
        self.instruction.setObjectName("easelInstruction")
        self.instruction.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self.instruction.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.instruction.lineEdit().setPlaceholderText("What shall change? For example: make the wall blue")
        self.instruction.addItems(self.panel.history)
        self.instruction.setCurrentText("")
        self.instruction.editTextChanged.connect(self._typing.start)
        self.instruction.lineEdit().returnPressed.connect(self._edit)
        self.seed = QtWidgets.QLineEdit()
        self.seed.setObjectName("easelSeed")
        self.seed.setPlaceholderText("random")
        self.seed.textChanged.connect(self._seed)
        self.variations = QtWidgets.QSpinBox(minimum=1, maximum=4)
        self.variations.valueChanged.connect(self.panel.set_variations)
        self.live = QtWidgets.QCheckBox("Live")
        self.live.setToolTip("Try every change of the instruction at once")
        self.live.toggled.connect(self._live)
        self.edit = QtWidgets.QPushButton("Edit")
        self.edit.clicked.connect(self._edit)
        self.cancel = QtWidgets.QPushButton("Cancel")
        self.cancel.clicked.connect(self.panel.cancel)
        self.bar = QtWidgets.QProgressBar(minimum=0, maximum=1000)
        self.picture = QtWidgets.QLabel(alignment=QtCore.Qt.AlignmentFlag.AlignCenter)
        self.picture.setMinimumHeight(120)
        self.results = QtWidgets.QListWidget(maximumHeight=90)
        self.results.setToolTip("Click a result to add it as a layer")
        self.results.itemClicked.connect(lambda item: self.panel.add_layer(self.results.row(item)))
        self.help = QtWidgets.QLabel(wordWrap=True)
        self.help.setObjectName("easelHelp")
        self.help.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        self.again = QtWidgets.QPushButton("Look again")
        self.again.clicked.connect(self.panel.start)
        self.place = QtWidgets.QToolButton(text="Connection...")
        self.place.clicked.connect(self._connection)
        row = QtWidgets.QHBoxLayout()
        for widget in (QtWidgets.QLabel("Seed"), self.seed, QtWidgets.QLabel("Variations"), self.variations, self.live):
            row.addWidget(widget)
        buttons = QtWidgets.QHBoxLayout()
        for widget in (self.edit, self.cancel):
            buttons.addWidget(widget)
        foot = QtWidgets.QHBoxLayout()
        foot.addWidget(self.help, 1)
        foot.addWidget(self.again)
        foot.addWidget(self.place)
        column = QtWidgets.QVBoxLayout(self)
        column.addWidget(self.instruction)
        for layout in (row, buttons):
            column.addLayout(layout)
        for widget in (self.bar, self.picture, self.results):
            column.addWidget(widget)
        column.addLayout(foot)
        column.addStretch(1)

    def draw(self):
        """Shows what the model says."""
        panel = self.panel
        self.edit.setEnabled(panel.can_edit)
        self.cancel.setEnabled(panel.running)
        self.bar.setValue(round(panel.fraction * 1000))
        self.bar.setFormat(panel.doing)
        self.help.setText(panel.help or f"Easel {panel.version}")
        self.help.setToolTip(panel.place)
        self.again.setVisible(not panel.place)
        if panel.preview != self._shown:
            self._shown = panel.preview
            image = QtGui.QImage.fromData(panel.preview)
            kept = QtCore.Qt.AspectRatioMode.KeepAspectRatio
            self.picture.setPixmap(QtGui.QPixmap.fromImage(image).scaled(260, 260, kept))
        names = [result.name for result in panel.results]
        if names != [self.results.item(i).text() for i in range(self.results.count())]:
            self.results.clear()
            self.results.addItems(names)
        self.results.setVisible(bool(names))
        if [self.instruction.itemText(i) for i in range(self.instruction.count())] != panel.history:
            text = self.instruction.currentText()
            blocked = self.instruction.blockSignals(True)
            self.instruction.clear()
            self.instruction.addItems(panel.history)
            self.instruction.setCurrentText(text)
            self.instruction.blockSignals(blocked)

    def _typed(self):
        self.panel.set_instruction(self.instruction.currentText())
        self.draw()

    def _seed(self, text):
        good = self.panel.set_seed(text)
        self.seed.setStyleSheet("" if good else "color: red")
        self.seed.setToolTip("" if good else "a whole number, or nothing for a new seed each time")

    def _live(self, on):
        self._typed()
        self.panel.set_live(on)

    def _edit(self):
        self._typing.stop()
        live, self.panel.live = self.panel.live, False
        self._typed()
        self.panel.live = live
        self.panel.edit()

    def _connection(self):
        address, ok = QtWidgets.QInputDialog.getText(
            self, "Easel", "Address of the daemon; empty: find it on this machine", text=self.panel.address
        )
        if not ok:
            return
        hidden = QtWidgets.QLineEdit.EchoMode.Password
        token, ok = QtWidgets.QInputDialog.getText(self, "Easel", "Token, as `easel token` prints it", hidden, self.panel.token)
        if ok:
            self.panel.connect_to(address, token)
