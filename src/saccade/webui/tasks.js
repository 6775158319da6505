// Tasks as presets: what is asked, under which form, with how many pixels, and how the answer is shown. Pure.
// `forms`: what the answer to a prompt must be, where it is asked in these words.

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

/** `prompts`: offered in this order, the first is the default; {what} is to be filled in by the person. */
export const TASKS = [
  { id: "describe", icon: "eye", prompts: ["Describe the image."] },
  { id: "ocr", icon: "text", prompts: ["Read all the text in the image."], temperature: 0 },
  {
    id: "receipt", icon: "receipt", prompts: ["Give this receipt as JSON.", "What is the total?"], temperature: 0,
    forms: { "Give this receipt as JSON.": { type: "json_object" } },
  },
  { id: "document", icon: "page", prompts: ["qwenvl markdown"], temperature: 0 },
  { id: "document_html", icon: "page", prompts: ["qwenvl html"], temperature: 0 },
  { id: "grounding", icon: "box", prompts: ['Where is the "…" button?', "Locate every button as JSON with bbox_2d and label."], temperature: 0 },
  {
    id: "computer", icon: "pointer", prompts: ["Click …"], temperature: 0,
    system: agent("computer_use", COMPUTER, "a computer's screen", {
      keys: { type: "array", items: { type: "string" } }, pixels: { type: "number" }, time: { type: "number" },
    }),
  },
  {
    id: "mobile", icon: "phone", prompts: ["Open …"], temperature: 0,
    system: agent("mobile_use", MOBILE, "a phone's screen", {
      coordinate2: { type: "array", items: { type: "number" } }, time: { type: "number" },
      button: { type: "string", enum: ["Back", "Home", "Menu", "Enter"] },
    }),
  },
  { id: "chart", icon: "chart", prompts: ["Give this chart as a table.", "Which bar is the highest?"], temperature: 0 },
  { id: "html", icon: "code", prompts: ["Write this window as HTML."], max_tokens: 16384, temperature: 0 },
  { id: "video", icon: "film", prompts: ["Describe the video.", "When does the … appear?"] },
];

export const taskOf = (id) => TASKS.find((task) => task.id === id) || null;
