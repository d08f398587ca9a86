from typing import Any

import numpy as np
from qtpy import QtGui, QtWidgets

def mkPen(color: QtGui.QColor) -> QtGui.QPen: ...

class GraphicsView(QtWidgets.QGraphicsView):
    def __init__(self, parent: QtWidgets.QWidget | None = ..., background: Any = ...) -> None: ...
    def setCentralItem(self, item: QtWidgets.QGraphicsItem) -> None: ...

class ViewBox(QtWidgets.QGraphicsWidget):
    def __init__(
        self,
        *,
        border: QtGui.QPen | None = ...,
        enableMouse: bool = ...,
        enableMenu: bool = ...,
    ) -> None: ...
    def setRange(
        self,
        *,
        xRange: tuple[float, float] | None = ...,
        yRange: tuple[float, float] | None = ...,
        padding: float | None = ...,
        disableAutoRange: bool = ...,
    ) -> None: ...
    def addItem(self, item: QtWidgets.QGraphicsItem) -> None: ...

class PlotCurveItem(QtWidgets.QGraphicsObject):
    def __init__(self, *, pen: QtGui.QPen | None = ..., antialias: bool = ...) -> None: ...
    def setData(self, x: np.ndarray, y: np.ndarray) -> None: ...  # type: ignore[override]
