"""The page's component inside a Gradio app, with a tab for each task; every word of an answer still comes from our own
HTTP interface, none goes through Gradio."""

from __future__ import annotations

from fastapi import FastAPI

from saccade.errors import SettingsError

PATH = "/gradio"
TABS = (
    ("Chat", ""),
    ("Describe", "describe"),
    ("Read text", "ocr"),
    ("Receipts", "receipt"),
    ("Document to Markdown", "document"),
    ("Document to HTML", "document_html"),
    ("Find things", "grounding"),
    ("Computer", "computer"),
    ("Phone", "mobile"),
    ("Charts", "chart"),
    ("Screenshot to HTML", "html"),
    ("Video", "video"),
)
"""(name of the tab, task of the component in it); the names of tasks are those of tasks.js."""
HEAD = '<script type="module" src="/ui/latest/app.js"></script>'
LOOK = "saccade-chat { height: calc(100dvh - 130px); min-height: 480px; } footer { display: none !important; }"


def mount(app: FastAPI) -> None:
    """Put the Gradio app at PATH of ours. SettingsError where Gradio is not installed."""
    try:
        import gradio
    except ImportError:
        raise SettingsError(
            "Gradio is not installed.", param="gradio", hint="Install the extra: pip install 'saccade[gradio]'."
        ) from None
    fonts = ["system-ui", "sans-serif"]  # those of the default theme come from elsewhere
    theme = gradio.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])
    with gradio.Blocks(title="saccade", analytics_enabled=False) as blocks:
        for name, task in TABS:
            with gradio.Tab(name):
                gradio.HTML(f'<saccade-chat plain name="gradio-{task}" task="{task}"></saccade-chat>')
    gradio.mount_gradio_app(
        app, blocks, PATH, head=HEAD, css=LOOK, theme=theme, ssr_mode=False, footer_links=[], max_file_size=1
    )
