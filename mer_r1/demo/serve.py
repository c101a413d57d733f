"""The page as a server: bound to this machine unless told otherwise, shared with nobody, asking nothing of the net."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mer_r1.demo.address import cannot_bind, is_loopback
from mer_r1.demo.examples import make_examples
from mer_r1.demo.page import make_page
from mer_r1.demo.uploads import MAX_UPLOAD_MB, Uploads, uploads_folder
from mer_r1.demo.view import style

if TYPE_CHECKING:
    from mer_r1.demo.model import DemoModel

HOST, FIRST_PORT = "127.0.0.1", 7860
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # Gradio's own page needs both
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
    )
)
"""The browser asks nothing of any other address, whatever the page or a text in it says."""
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


class PageRules:
    """Around the server: the page's policy goes out with every reply, and a full folder takes no more uploads."""

    def __init__(self, app: Any, uploads: Uploads) -> None:
        self._app, self._uploads = app, uploads

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        async def send_more(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].endswith("/upload") and self._uploads.is_full():
            await send_more(
                {"type": "http.response.start", "status": 507, "headers": [(b"content-type", b"text/plain")]}
            )
            await send_more({"type": "http.response.body", "body": b"the server holds too many clips; try again later"})
        else:
            await self._app(scope, receive, send_more)


@contextmanager
def serving(model: DemoModel, host: str = HOST, port: int | None = None) -> Iterator[str]:
    """Serve the page while the block runs; gives its address. `port` None is the first free one from FIRST_PORT.

    Raises InputError for a host or a port that cannot be bound.
    """
    require_gradio()
    os.environ |= OFFLINE
    with uploads_folder() as uploads:
        # Read by Gradio when its components are made, and when it is imported.
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
        try:
            with _launched(model, uploads, host, port) as address:
                yield address
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


@contextmanager
def _launched(model: DemoModel, uploads: Uploads, host: str, port: int | None) -> Iterator[str]:
    import gradio as gr
    from starlette.middleware import Middleware

    page = make_page(model, uploads, make_examples(uploads.kept))
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            show_error=False,
            max_file_size=f"{MAX_UPLOAD_MB}mb",
            allowed_paths=[],
            blocked_paths=["."],
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            ssr_mode=False,
            run_history=False,
            strict_cors=True,
            footer_links=["api", "settings"],
            theme=gr.themes.Default(
                primary_hue="indigo", font=fonts, font_mono=("ui-monospace", "Menlo", "Consolas", "monospace")
            ),
            css=style(),
            app_kwargs={"middleware": [Middleware(PageRules, uploads=uploads)], "docs_url": None, "redoc_url": None},
        )
    except OSError as error:
        raise cannot_bind(host, port, error) from None
    try:
        yield str(address)
    finally:
        page.close()


def require_gradio() -> None:
    """Raises ModuleNotFoundError where Gradio is not installed. It reads its settings when it is imported: not yet."""
    if find_spec("gradio") is None:
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")


def serve(model: DemoModel, host: str = HOST, port: int | None = None) -> None:
    """Serve the page until Ctrl-C. Says where it is, and on standard error who can reach it."""
    with serving(model, host, port) as address:
        if not is_loopback(host):
            print(
                f"mer-r1: warning: --host {host}: whoever reaches this machine can use the page; there is no password",
                file=sys.stderr,
            )
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the uploads are removed then, too
        threading.Event().wait()
