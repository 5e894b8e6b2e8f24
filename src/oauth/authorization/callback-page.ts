import { createHash } from 'node:crypto';

/*
 * The page that the browser shows after the redirect. It has no script, no external resource and no text from the
 * request: Holdfast wrote the text, and the user typed the server's name.
 */

export interface Page {
  /** A notice is neutral: the login does not depend on it. */
  readonly kind: 'success' | 'failure' | 'notice';
  readonly title: string;
  /** Paragraphs, as plain text. */
  readonly text: readonly string[];
  /** Shown as a table: the server and account of the login. */
  readonly facts?: Readonly<Record<string, string>> | undefined;
}

const STYLE = `
:root { color-scheme: light dark; --paper: #f3f4f2; --card: #ffffff; --ink: #1b1d20; --soft: #5a5f66; --line: #dfe1dd; --success: #1b7a43; --failure: #b3261e; --notice: #5a5f66; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #131417; --card: #1d1f23; --ink: #eceef0; --soft: #a3a9b1; --line: #34383e; --success: #6ccf92; --failure: #f2938b; --notice: #a3a9b1; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.25rem; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { width: 100%; max-width: 32rem; padding: 2.5rem; background: var(--card); border: 1px solid var(--line); border-radius: 1rem; box-shadow: 0 1px 2px rgb(0 0 0 / 4%), 0 0.75rem 2rem rgb(0 0 0 / 6%); }
svg { display: block; width: 3rem; height: 3rem; margin-bottom: 1.25rem; fill: none; stroke: currentcolor; stroke-width: 2.5; stroke-linecap: round; stroke-linejoin: round; }
.success svg { color: var(--success); }
.failure svg { color: var(--failure); }
.notice svg { color: var(--notice); }
h1 { margin: 0 0 0.5rem; font-size: 1.5rem; line-height: 1.3; font-weight: 600; letter-spacing: -0.01em; overflow-wrap: anywhere; }
p { margin: 0.5rem 0 0; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0.5rem 1.5rem; margin: 1.5rem 0 0; padding: 1rem 0 0; border-top: 1px solid var(--line); font-size: 0.9375rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 1.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft); font-size: 0.875rem; }
@media (max-width: 30rem) {
  main { padding: 1.75rem 1.5rem; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd + dt { margin-top: 0.75rem; }
}
`;

const MARKS: Readonly<Record<Page['kind'], string>> = {
  success: 'M15.5 24.5l6 6 11.5-13',
  failure: 'M16.5 16.5l15 15m0-15l-15 15',
  notice: 'M24 22.5v10M24 15.5v.1',
};

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

/** The page may not run, load, frame or send anything. The policy allows its one style by hash (CSP level 3). */
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
<svg viewBox="0 0 48 48" aria-hidden="true"><circle cx="24" cy="24" r="22"/><path d="${MARKS[kind]}"/></svg>
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
