// The demo page: two panels, each of which opens an endpoint and talks to it.
"use strict";

const PARAMETER = /<(?:(\w+):)?(\w+)>/g; // as in Django's path(): <slug:room>, <room>
const SHOWN_BYTES = 32;
const SHOWN_ENTRIES = 500;

const MEANINGS = {
  1000: "a normal end",
  1001: "the endpoint or the server went away",
  1005: "no code was sent",
  1006: "no close frame: refused, or the connection broke",
  1008: "against a rule",
  1009: "the message was too big",
  1011: "the handler failed",
  1012: "the row changed: come back",
  1013: "too much waiting: try again later",
  4401: "nobody is logged in",
  4403: "not allowed",
  4404: "no such endpoint",
  4408: "idle for too long",
  4429: "too many",
};

// Daphne sends only 1000 and 3000-4999, so that 1011 comes as 4011.
function meaningOf(code) {
  return MEANINGS[code] ?? MEANINGS[code - 3000] ?? "";
}

function element(name, attributes, text) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(text ?? "");
  return made;
}

function hexOf(buffer) {
  const shown = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, SHOWN_BYTES));
  const hex = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return buffer.byteLength > SHOWN_BYTES ? `${hex} …` : hex;
}

class Panel {
  #socket = null;

  constructor(title) {
    const fragment = document.getElementById("panel").content.cloneNode(true);
    this.root = fragment.firstElementChild;
    this.connect = this.root.querySelector(".connect");
    this.sender = this.root.querySelector(".send");
    this.log = this.root.querySelector(".log");
    this.root.setAttribute("aria-label", title);
    this.root.querySelector("h2").textContent = title;
    this.log.setAttribute("aria-label", `Log of ${title}`);
    this.#listen();
    this.#choose();
    this.#show("closed");
  }

  #listen() {
    const { endpoint, close, clear } = this.connect.elements;
    this.connect.addEventListener("input", ({ target }) => {
      if (target === endpoint) this.#choose();
      else this.#showAddress();
    });
    this.connect.addEventListener("submit", (event) => {
      event.preventDefault();
      this.open();
    });
    close.addEventListener("click", () => this.#socket?.close(1000, "closed by the visitor"));
    clear.addEventListener("click", () => this.log.replaceChildren());
    this.sender.querySelector(".formats").addEventListener("change", () => this.#chooseFormat());
    this.sender.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.sender.elements.message.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.sender.requestSubmit();
      }
    });
  }

  // Choose an endpoint: each parameter of its path gets an input.
  #choose() {
    const option = this.connect.elements.endpoint.selectedOptions[0];
    const inputs = Array.from((option?.value ?? "").matchAll(PARAMETER), ([, type, name]) => {
      const input = element("input", { name: `param-${name}`, required: true });
      input.dataset.param = name;
      input.placeholder = type ?? "str";
      input.autocomplete = "off";
      const label = element("label", {}, name);
      label.append(input);
      return label;
    });
    this.connect.querySelector(".params").replaceChildren(...inputs);
    this.connect.querySelector(".description").textContent = option?.dataset.description ?? "";
    this.#showAddress();
  }

  #address() {
    const path = this.connect.elements.endpoint.value.replace(PARAMETER, (_, type, name) => {
      const value = this.connect.elements[`param-${name}`].value;
      // A parameter of the type `path` keeps its slashes.
      return type === "path" ? encodeURI(value) : encodeURIComponent(value);
    });
    const url = new URL(path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    return url.href;
  }

  #showAddress() {
    this.connect.querySelector(".address code").textContent = this.#address();
  }

  #chooseFormat() {
    const { format, message, file } = this.sender.elements;
    message.hidden = format.value === "file";
    file.hidden = format.value !== "file";
    this.#complain("");
  }

  // The life of a socket

  open() {
    const socket = new WebSocket(this.#address());
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#show("connecting");
    socket.addEventListener("open", () => {
      this.#show("open");
      this.#write("event", "open");
    });
    socket.addEventListener("message", ({ data }) => this.#write("in", data));
    socket.addEventListener("close", ({ code, reason }) => {
      const why = [reason && `“${reason}”`, meaningOf(code)].filter(Boolean).join(" – ");
      this.#write("event", `closed with ${code}${why && `: ${why}`}`);
      this.#show("closed");
    });
  }

  async send() {
    const { format, message, file } = this.sender.elements;
    const data = format.value === "file" ? await file.files[0]?.arrayBuffer() : message.value;
    const problem = this.#problemOf(format.value, data);
    this.#complain(problem);
    if (problem) return;
    this.#socket.send(data);
    this.#write("out", data);
    message.value = "";
    message.focus();
  }

  #problemOf(format, data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return "The endpoint is not open.";
    if (data === undefined) return "Choose a file first.";
    if (format !== "json") return "";
    try {
      JSON.parse(data);
      return "";
    } catch (error) {
      return `This is no JSON: ${error.message}`;
    }
  }

  // What a person sees

  #complain(problem) {
    this.sender.querySelector(".problem").textContent = problem;
  }

  #show(state) {
    const { endpoint, open, close } = this.connect.elements;
    const pill = this.connect.querySelector(".state");
    pill.dataset.state = state;
    pill.firstElementChild.textContent = state;
    const closed = state === "closed";
    open.disabled = !closed || !endpoint.value;
    close.disabled = closed;
    endpoint.disabled = !closed;
    for (const input of this.connect.querySelectorAll(".params input")) input.disabled = !closed;
    this.sender.querySelector("fieldset").disabled = state !== "open";
  }

  #write(kind, data) {
    const words = { in: "received", out: "sent", event: "" };
    const entry = element("li", { className: kind });
    const now = new Date();
    const time = element("time", { dateTime: now.toISOString() }, now.toLocaleTimeString());
    entry.append(time, element("span", { className: "hidden" }, ` ${words[kind]} `));
    const shown = element("span", { className: "text" });
    if (data instanceof ArrayBuffer) {
      shown.append(`binary, ${data.byteLength} bytes `, element("code", {}, hexOf(data)));
    } else {
      shown.append(data === "" ? "(empty)" : data);
    }
    entry.append(shown);
    const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 4;
    this.log.append(entry);
    while (this.log.childElementCount > SHOWN_ENTRIES) this.log.firstElementChild.remove();
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }
}

const panels = [new Panel("Left panel"), new Panel("Right panel")];
document.getElementById("panels").append(...panels.map((panel) => panel.root));
