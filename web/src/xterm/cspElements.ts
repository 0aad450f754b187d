// Elements with which xterm.js works under the page's Content-Security-Policy. The policy blocks <style> elements and style
// attributes, but allows style sheets and style properties that a script sets. These elements replace <style> elements by style
// sheets, and style attributes by style properties.

const createPlainElement = Document.prototype.createElement;

/** Replaces `document.createElement`, with which xterm.js creates its elements, such as those of each line that it draws. */
export function installCspElements(): void {
  document.createElement = createElement as typeof document.createElement;
}

function createElement(name: string, options?: ElementCreationOptions): HTMLElement {
  if (name === "style") return createStyleElement();
  const element: HTMLElement = createPlainElement.call(document, name, options);
  if (name === "span") element.setAttribute = setAttribute;
  return element;
}

/** Creates a stand-in for a <style> element, whose text becomes a style sheet of the document. */
function createStyleElement(): HTMLElement {
  const rules = new CSSStyleSheet();
  document.adoptedStyleSheets.push(rules);
  const element: HTMLElement = createPlainElement.call(document, "template");
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
