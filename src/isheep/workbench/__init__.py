"""`isheep ui`: run directories in a browser on this machine; it reads them, and writes nothing there but hand marks."""
