import { displayUrl, withDisplayUrls } from '../../display-url.ts';
import type { HoldfastErrorCode } from '../../errors.ts';
import { printableLines } from '../../quote.ts';
import { VERSION } from '../../version.ts';
import type { Request } from '../relay/in-flight.ts';
import { CODE, claimedVersion, errorText, resultText } from '../relay/message.ts';

/*
 * The answers in the server's place while nobody is logged in. They let a client start, show one tool that says how to
 * log in, and explain why every other request must wait.
 */

export const LOGIN_TOOL = 'holdfast_login';

/** The versions with `initialize`. A client that asks for an unknown version is offered the newest. */
const VERSIONS = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'];

/** All capabilities that a server may have. Only the login shows which of them this server has. */
const CAPABILITIES = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { listChanged: true, subscribe: true },
  logging: {},
  completions: {},
};

export interface Problem {
  /** Why the server gives no answer, and what to do. Users read it, and so do the models that pass it on. */
  readonly text: string;
  readonly resource: string;
  /** The command that logs in. */
  readonly command: string;
  /** The error code, such as `keyring-locked`, if a login may exist and cannot be read. */
  readonly unusable?: HoldfastErrorCode | undefined;
}

/** In characters. A model reads this text, and parts of it come from a server. */
const LONGEST_TEXT = 2000;

/** The answer, as text. */
export function placeholderAnswer(request: Request, known: Problem): string {
  const { id } = request;
  const problem = presentable(known);
  const isModern = claimedVersion(request) !== undefined;
  const complete = (result: object) =>
    resultText(id, { ...(isModern && { resultType: 'complete' }), ...result });
  const list = (result: object) =>
    complete({ ...(isModern && { ttlMs: 0, cacheScope: 'private' }), ...result });
  switch (request.method) {
    case 'initialize':
      return resultText(id, initializeResult(request, problem));
    case 'ping':
    case 'logging/setLevel':
      return complete({});
    case 'tools/list':
      return list({ tools: [loginTool(problem)] });
    case 'tools/call':
      return complete({ content: [{ type: 'text', text: problem.text }], isError: true });
    case 'prompts/list':
      return list({ prompts: [] });
    case 'resources/list':
      return list({ resources: [] });
    case 'resources/templates/list':
      return list({ resourceTemplates: [] });
    default:
      return errorText(id, {
        code: CODE.unreachable,
        message: problem.text,
        data: { code: problem.unusable ?? 'login-required' },
      });
  }
}

/** The problem in a form that is safe for the user and the model: no escapes, no key in a URL, limited length. */
function presentable({ text, resource, command, unusable }: Problem): Problem {
  return {
    unusable,
    text: printableLines(withDisplayUrls(text)).slice(0, LONGEST_TEXT),
    resource: displayUrl(resource),
    command: withDisplayUrls(command),
  };
}

/** An empty list, for a server that lacks the feature and never announced it. */
export function emptyList(request: Request): string | undefined {
  const lists: Readonly<Record<string, object>> = {
    'prompts/list': { prompts: [] },
    'resources/list': { resources: [] },
    'resources/templates/list': { resourceTemplates: [] },
    'logging/setLevel': {},
  };
  const result = Object.hasOwn(lists, request.method) ? lists[request.method] : undefined;
  return result && resultText(request.id, result);
}

/** The login tool's answer once the login exists. */
export function loggedInAnswer(request: Request, resource: string): string {
  const text = `You are logged in to ${displayUrl(resource)}. Its tools are available now.`;
  const isModern = claimedVersion(request) !== undefined;
  return resultText(request.id, {
    ...(isModern && { resultType: 'complete' }),
    content: [{ type: 'text', text }],
  });
}

function initializeResult({ params }: Request, problem: Problem): object {
  const { resource, command, unusable, text } = problem;
  const asked = params['protocolVersion'];
  return {
    protocolVersion: typeof asked === 'string' && VERSIONS.includes(asked) ? asked : VERSIONS[0],
    capabilities: CAPABILITIES,
    serverInfo: { name: 'holdfast', title: `${resource} (${problemText(problem)})`, version: VERSION },
    instructions:
      unusable === undefined
        ? `There is no login to ${resource} yet. Call the tool ${LOGIN_TOOL}, or have the user run: ${command}`
        : `The tools of ${resource} are not available now. ${text}\nThen call the tool ${LOGIN_TOOL} to try again.`,
  };
}

function loginTool({ resource, command, unusable, text }: Problem): object {
  const isThere = unusable !== undefined;
  return {
    name: LOGIN_TOOL,
    title: isThere ? `Try the login to ${resource} again` : `Log in to ${resource}`,
    description: isThere
      ? `The tools of ${resource} are not available now. ${text}\nThen call this tool to try again; it opens no browser.`
      : `There is no login to ${resource}, so its tools are not available. Call this tool to log in, or have the user run this command in a terminal: ${command}`,
    inputSchema: { type: 'object', properties: {}, additionalProperties: false },
  };
}

function problemText({ unusable }: Problem): string {
  switch (unusable) {
    case undefined:
      return 'not logged in';
    case 'keyring-locked':
      return 'keyring locked';
    case 'keyring-denied':
      return 'keyring access denied';
    case 'keyring-broken':
      return 'keyring not working';
    case 'keyring-absent':
    case 'key-unavailable':
      return 'sealing key not available';
    case 'record-damaged':
      return 'stored login damaged';
    case 'record-newer':
      return 'stored by a newer Holdfast';
    default:
      return unusable.startsWith('store-') ? 'login store not available' : 'stored login not readable';
  }
}
