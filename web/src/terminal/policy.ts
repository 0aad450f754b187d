// xterm.js within the page's Content-Security-Policy, which lets neither <style> elements nor style attributes do anything.
// Style sheets that a script makes and properties that it sets are let through, so xterm.js is given elements that turn
// the one into the other.

const plain = Document.prototype.createElement;

/** From now on the document makes such elements: xterm.js asks no other, and makes some with each line that it draws. */
export function keepPolicy(): void {
  document.createElement = makeElement as typeof document.createElement;
}

function makeElement(name: string, options?: ElementCreationOptions): HTMLElement {
  if (name === "style") return sheet();
  const element: HTMLElement = plain.call(document, name, options);
  if (name === "span") element.setAttribute = setAttribute;
  return element;
}

/** Stands for a <style>: what is written into it becomes a style sheet of the page's. */
function sheet(): HTMLElement {
  const rules = new CSSStyleSheet();
  document.adoptedStyleSheets.push(rules);
  const element: HTMLElement = plain.call(document, "template");
  Object.defineProperty(element, "textContent", { set: (text: string) => rules.replaceSync(text) });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== rules);
    Element.prototype.remove.call(element);
  };
  return element;
}

function setAttribute(this: HTMLElement, name: string, value: string): void {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}
