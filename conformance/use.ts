import {
  Client,
  type ElicitRequest,
  type ElicitResult,
  ProtocolError,
  SdkError,
  SdkErrorCode,
  type Tool,
  type Transport,
} from '@modelcontextprotocol/client';

/* The common part of the clients under test: the suite's input, and their use of a server. */

/** The URL that the suite expects if a server accepts a Client ID Metadata Document. The suite never fetches it. */
export const CLIENT_METADATA_URL = 'https://conformance-test.local/client-metadata.json';

/** The suite's input for a scenario: a client, a key, other parties' tokens, the calls to make. */
interface Context {
  readonly client_id?: string;
  readonly client_secret?: string;
  readonly issuer?: string;
  readonly private_key_pem?: string;
  readonly idp_client_id?: string;
  readonly idp_id_token?: string;
  readonly idp_issuer?: string;
  readonly idp_token_endpoint?: string;
  readonly valid_jwt?: string;
  readonly toolCalls?: readonly Call[];
}

interface Call {
  readonly name: string;
  readonly arguments: Record<string, unknown>;
}

export const context = JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}') as Context;
export const scenario = process.env['MCP_CONFORMANCE_SCENARIO'] ?? '';

/**
 * Reads what the server offers, uses each tool, the first resource and the first prompt, and disconnects.
 *
 * @returns the names of the tools
 * @throws the SDK's error if the server cannot be reached or used
 */
export async function use(transport: Transport): Promise<readonly string[]> {
  const client = new Client(
    { name: 'holdfast-conformance', version: '1.0.0' },
    {
      capabilities: { elicitation: { form: { applyDefaults: true } } },
      versionNegotiation: { mode: 'auto' },
    },
  );
  client.setRequestHandler('elicitation/create', agree);
  await client.connect(transport);
  const names: string[] = [];
  try {
    const { tools, resources, prompts } = client.getServerCapabilities() ?? {};
    if (tools !== undefined) {
      const list = (await client.listTools()).tools;
      names.push(...list.map(({ name }) => name));
      const calls =
        context.toolCalls ?? list.map((tool) => ({ name: tool.name, arguments: argumentsFor(tool, list) }));
      for (const call of calls) await answered(`The tool ${call.name}`, client.callTool(call));
    }
    if (resources !== undefined) {
      const [first] = (await client.listResources()).resources;
      if (first !== undefined) await answered(first.uri, client.readResource({ uri: first.uri }));
    }
    if (prompts !== undefined) {
      const [first] = (await client.listPrompts()).prompts;
      if (first !== undefined) await answered(first.name, client.getPrompt({ name: first.name }));
    }
  } finally {
    await client.close();
  }
  return names;
}

/**
 * Accepts a server's error, or an answer outside the protocol, as an answer. It is the tool caller's concern, and the
 * next tool may work.
 */
async function answered(what: string, call: Promise<unknown>): Promise<void> {
  try {
    const result = await call;
    if (isRefusal(result)) process.stderr.write(`${what}: ${JSON.stringify(result.content)}\n`);
  } catch (error) {
    // The SDK rejects an invalid result before the caller sees it.
    const refused = error instanceof SdkError && error.code === SdkErrorCode.InvalidResult;
    if (!(error instanceof ProtocolError) && !refused) throw error;
    process.stderr.write(`${what}: ${error.message}\n`);
  }
}

/** Tells whether a tool marks its own result as an error. */
function isRefusal(result: unknown): result is { readonly content: unknown } {
  return typeof result === 'object' && result !== null && 'isError' in result && result.isError === true;
}

/** The user at the form, who agrees and keeps every default. */
function agree({ params }: ElicitRequest): ElicitResult {
  if (!('requestedSchema' in params)) return { action: 'decline' };
  const content: Record<string, string | number | boolean> = {};
  for (const [name, property] of Object.entries(params.requestedSchema.properties)) {
    if (property.type === 'boolean' && property.default === undefined) content[name] = true;
  }
  return { action: 'accept', content };
}

/** A value of the right type for each argument. The object at hand is a schema that was just read. */
function argumentsFor({ inputSchema }: Tool, tools: readonly Tool[]): Record<string, unknown> {
  const samples: Readonly<Record<string, unknown>> = {
    string: 'text',
    integer: 1,
    number: 1.5,
    boolean: true,
    array: [],
    object: tools[0]?.inputSchema,
  };
  const properties = Object.entries(inputSchema.properties ?? {}) as [string, { type?: unknown }][];
  return Object.fromEntries(
    properties.flatMap(([name, { type }]) =>
      typeof type === 'string' && type in samples ? [[name, samples[type]]] : [],
    ),
  );
}
