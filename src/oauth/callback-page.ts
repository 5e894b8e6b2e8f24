import { createHash } from 'node:crypto';

/*
 * What the browser shows when it comes back. No script, nothing from elsewhere, nothing that the request said: the text
 * is ours, and the server's name is the one that the person typed.
 */

export interface Page {
  readonly kind: 'success' | 'failure';
  readonly title: string;
  /** Paragraphs, as plain text. */
  readonly text: readonly string[];
  /** Shown as a table: what was logged in to. */
  readonly facts?: Readonly<Record<string, string>> | undefined;
}

const STYLE = `
:root { color-scheme: light dark; --paper: #f6f6f4; --card: #ffffff; --ink: #1c1d1f; --soft: #5c6066; --line: #dcdcd8; --good: #19733b; --bad: #a3271e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16171a; --card: #1f2125; --ink: #eceded; --soft: #a0a5ac; --line: #34373d; --good: #6fcf8f; --bad: #f08a80; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { width: 100%; max-width: 34rem; padding: 2.25rem 2.5rem; background: var(--card); border: 1px solid var(--line); border-radius: 0.75rem; }
h1 { margin: 0 0 0.75rem; font-size: 1.4rem; line-height: 1.3; font-weight: 650; }
.mark { display: block; width: 2.25rem; height: 0.3rem; margin-bottom: 1.25rem; border-radius: 1rem; background: var(--good); }
.failure .mark { background: var(--bad); }
p { margin: 0 0 0.75rem; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0.35rem 1.25rem; margin: 1.25rem 0; padding: 1rem 0; border: solid var(--line); border-width: 1px 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 1.5rem; color: var(--soft); font-size: 0.875rem; }
`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

/** Nothing may run, load, frame or be sent; the one style is named by its hash (CSP level 3). */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'cross-origin-opener-policy': 'same-origin',
};

export function renderPage({ kind, title, text, facts }: Page): string {
  const rows = Object.entries(facts ?? {}).map(
    ([name, value]) => `<dt>${escape(name)}</dt><dd>${escape(value)}</dd>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body class="${kind}">
<main>
<span class="mark"></span>
<h1>${escape(title)}</h1>
${text.map((paragraph) => `<p>${escape(paragraph)}</p>`).join('\n')}
${rows.length === 0 ? '' : `<dl>${rows.join('')}</dl>`}
<footer>Holdfast, on this machine</footer>
</main>
</body>
</html>
`;
}

function escape(text: string): string {
  const entities: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '');
}
