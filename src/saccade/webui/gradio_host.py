"""The page's component inside a Gradio app, with a tab for each task; every word of an answer still comes from our own
HTTP interface, none goes through Gradio."""

from __future__ import annotations

from fastapi import FastAPI

from saccade.errors import SettingsError

PATH = "/gradio"
TABS = (
    ("", "Chat", "对话"),
    ("describe", "Describe", "描述"),
    ("ocr", "Read text", "文字识别"),
    ("receipt", "Receipts", "收据"),
    ("document", "Document to Markdown", "文档转 Markdown"),
    ("document_html", "Document to HTML", "文档转 HTML"),
    ("grounding", "Find things", "目标定位"),
    ("computer", "Computer", "电脑操作"),
    ("mobile", "Phone", "手机操作"),
    ("chart", "Charts", "图表转表格"),
    ("html", "Screenshot to HTML", "截图转 HTML"),
    ("video", "Video", "视频问答"),
)
"""(task of the component in the tab, its name in English and in Chinese); the names of tasks are those of tasks.js."""
HEAD = '<script type="module" src="/ui/latest/page.js"></script>'
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
    english = {f"tab_{task}": name for task, name, _ in TABS}
    chinese = {f"tab_{task}": name for task, _, name in TABS}
    words = gradio.I18n(**{"en": english, "zh": chinese, "zh-CN": chinese, "zh-TW": chinese})
    with gradio.Blocks(title="saccade", analytics_enabled=False) as blocks:
        for task, *_ in TABS:
            with gradio.Tab(words(f"tab_{task}")):
                gradio.HTML(f'<saccade-chat plain name="gradio-{task}" task="{task}"></saccade-chat>')
    gradio.mount_gradio_app(
        app,
        blocks,
        PATH,
        head=HEAD,
        css=LOOK,
        theme=theme,
        i18n=words,
        ssr_mode=False,
        footer_links=[],
        max_file_size=1,
    )
