// Owns small changes of the document: nothing is touched that is the same already. Knows no data.

export const by = (id) => document.getElementById(id);

export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

export function mark(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

export function make(tag, className = "", content = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (content) node.textContent = content;
  return node;
}

// A state as shape, word and colour; `why` is left out where there is no room for it.
export function state(node, { word, tone, why = "" }) {
  node.classList.add("state");
  mark(node, "tone", tone);
  if (!node.firstElementChild) node.append(make("span"), make("span", "why"));
  text(node.firstElementChild, word);
  text(node.lastElementChild, why ? `, ${why}` : "");
}

// Brings the children of `parent` to the order of `nodes`, moving only those that stand elsewhere.
export function arrange(parent, nodes) {
  nodes.forEach((node, place) => {
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] ?? null);
  });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
}
