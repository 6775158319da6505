// Tasks as presets: what is asked, under which form, and with how many pixels. Pure. How an answer is shown is seen from
// the answer itself: marks are drawn, HTML is rendered, receipts are added up, tables can be had as CSV, times lead to
// their frame, whichever task it was.

const COMPUTER = [
  "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click", "double_click",
  "triple_click", "scroll", "hscroll", "wait", "terminate", "answer",
];
const MOBILE = ["click", "long_press", "swipe", "type", "answer", "system_button", "wait", "terminate", "key", "open"];

/** The function of a GUI agent, told in the system prompt as Qwen's own examples do; coordinates run from 0 to 1000. */
function agent(name, actions, what, more) {
  const parameters = {
    type: "object",
    properties: {
      action: { type: "string", enum: actions },
      coordinate: { type: "array", items: { type: "number" }, description: "[x, y], each from 0 to 1000" },
      text: { type: "string" },
      status: { type: "string", enum: ["success", "failure"] },
      ...more,
    },
    required: ["action"],
  };
  const tool = { type: "function", function: { name, description: `Acts on ${what}. The screen is 1000x1000.`, parameters } };
  return [
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n",
    `You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n${JSON.stringify(tool)}\n</tools>\n`,
    "For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:",
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>',
  ].join("\n");
}

const JSON_OF = (schema) => ({ type: "json_schema", json_schema: { name: "answer", schema } });
const AMOUNT = { type: ["string", "number"] };
const object = (properties, required) => ({ type: "object", properties, required, additionalProperties: false });

const RECEIPT = object({
  shop: { type: "string" },
  date: { type: "string" },
  items: {
    type: "array",
    items: object({ name: { type: "string" }, quantity: AMOUNT, price: AMOUNT }, ["name", "price"]),
  },
  subtotal: AMOUNT, tax: AMOUNT, total: AMOUNT,
}, ["items", "total"]);

const BOXES = {
  type: "array",
  items: object({
    bbox_2d: { type: "array", items: { type: "integer", minimum: 0, maximum: 1000 }, minItems: 4, maxItems: 4 },
    label: { type: "string" },
  }, ["bbox_2d", "label"]),
};

/** Of a picture, where fewer pixels are enough than the model can see; each 1024 are a token. */
const SCENE = 1024 * 1024;
const PAGE = 2048 * 1024;

/** `prompts`: offered in this order, the first is the default, each as [English, Chinese, `response_format`]; … is to be
 * filled in by the person. `pixels`: at most so many of a picture; without it, as many as the model can see, as for small
 * letters and small targets. */
export const TASKS = [
  { id: "describe", icon: "eye", prompts: [["Describe the image.", "描述这张图片。"]], pixels: SCENE },
  { id: "ocr", icon: "text", prompts: [["Read all the text in the image.", "读出图片中的所有文字。"]], temperature: 0, pixels: PAGE },
  {
    id: "receipt", icon: "receipt", temperature: 0, pixels: PAGE,
    prompts: [
      ["Give this receipt as JSON.", "以 JSON 给出这张收据的内容。", JSON_OF(RECEIPT)],
      ["What is the total?", "总额是多少？"],
    ],
  },
  { id: "document", icon: "page", prompts: [["qwenvl markdown", "qwenvl markdown"]], temperature: 0 },
  { id: "document_html", icon: "page", prompts: [["qwenvl html", "qwenvl html"]], temperature: 0 },
  {
    id: "grounding", icon: "box", temperature: 0, pixels: PAGE,
    prompts: [
      ['Where is the "…" button?', "“…”按钮在哪里？以 JSON 给出 bbox_2d 和 label。"],
      ["Locate every button as JSON with bbox_2d and label.", "找出所有按钮，以 JSON 给出 bbox_2d 和 label。", JSON_OF(BOXES)],
    ],
  },
  {
    id: "computer", icon: "pointer", prompts: [["Click …", "点击…"]], temperature: 0,
    system: agent("computer_use", COMPUTER, "a computer's screen", {
      keys: { type: "array", items: { type: "string" } }, pixels: { type: "number" }, time: { type: "number" },
    }),
  },
  {
    id: "mobile", icon: "phone", prompts: [["Open …", "打开…"]], temperature: 0,
    system: agent("mobile_use", MOBILE, "a phone's screen", {
      coordinate2: { type: "array", items: { type: "number" } }, time: { type: "number" },
      button: { type: "string", enum: ["Back", "Home", "Menu", "Enter"] },
    }),
  },
  {
    id: "chart", icon: "chart", temperature: 0, pixels: SCENE,
    prompts: [["Give this chart as a Markdown table.", "以 Markdown 表格给出这张图表的数据。"], ["Which bar is the highest?", "哪根柱子最高？"]],
  },
  { id: "html", icon: "code", prompts: [["Write this window as HTML.", "将这个窗口写成 HTML。"]], temperature: 0, pixels: PAGE },
  {
    id: "video", icon: "film",
    prompts: [
      ["Describe the video.", "描述这段视频。"],
      ["When does the … appear?", "…什么时候出现？"],
      ["List what happens, each with its time as mm:ss.", "列出发生的事情，并以 mm:ss 标出时间。"],
    ],
  },
];

export const taskOf = (id) => TASKS.find((task) => task.id === id) || null;
export const promptsOf = (task, language) => task.prompts.map(([english, chinese]) => (language === "zh" ? chinese : english));

/** What the answer has to be, where a task asks in these words; else undefined. */
export const formOf = (task, words) => task?.prompts.find((prompt) => prompt.slice(0, 2).includes(words))?.[2];
