// @ts-check
// What runs in a notebook's own page: a frame with the page of the inspector, and the messages between it and the kernel.

/**
 * The part of a widget's model that is used here.
 * @typedef {{
 *   send(content: object): void,
 *   on(event: string, listener: (content: any, buffers: DataView[]) => void): void,
 *   off(event: string, listener: (content: any, buffers: DataView[]) => void): void,
 * }} Model
 */

/**
 * Show the page in an element; returns a function that removes it.
 * @type {(made: { model: Model, el: HTMLElement }) => () => void}
 */
function render({ model, el }) {
  const view = crypto.randomUUID(); // the same model may be shown in several places
  const frame = document.createElement("iframe");
  frame.style.cssText = "display:block;width:100%;border:0;border-radius:8px;";
  /** @type {MessagePort | null} */
  let port = null;
  let address = "";

  function connect() {
    const channel = new MessageChannel();
    port?.close();
    port = channel.port1;
    port.onmessage = ({ data }) => (data.what === "refresh" ? reload() : model.send({ view, ...data }));
    const { contentWindow } = frame;
    if (address && contentWindow) contentWindow.location.hash = address;
    contentWindow?.postMessage("steelyard", "*", [channel.port2]);
  }

  function reload() {
    address = frame.contentWindow?.location.hash ?? "";
    frame.srcdoc = frame.srcdoc; // loads it again
  }

  /** @type {(content: any, buffers: DataView[]) => void} */
  function received(content, [buffer]) {
    if (content.what === "refresh") return reload();
    if (content.view !== view) return;
    const pack = buffer && new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength).slice();
    if (content.what === "page") {
      frame.title = content.title;
      frame.style.height = `${content.height}px`;
      frame.srcdoc = new TextDecoder().decode(pack);
    } else port?.postMessage({ ...content, pack: pack?.buffer }, pack ? [pack.buffer] : []);
  }

  frame.addEventListener("load", connect);
  model.on("msg:custom", received);
  el.append(frame);
  model.send({ view, what: "page" });
  return () => {
    model.off("msg:custom", received);
    model.send({ view, what: "closed" });
    port?.close();
    frame.remove();
  };
}

export default { render };
