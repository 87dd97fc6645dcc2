"""Start the explorer on a hosting service for demos, such as a Space with the SDK Gradio.

Beside this file, requirements.txt names the package with its extra: virolbi[app]. Such services
set GRADIO_SERVER_NAME, and the port, themselves. Strangers use the page, so the limits are lower.
"""

from virolbi.explorer import serve

if __name__ == "__main__":
    serve(megapixels=20, megabytes=8, kept=6)
