import { defined } from '../../src/values/defined.ts';
import type { Vault } from '../../src/vault/vault.ts';

/** The answer of the MCP server. */
export interface ToolAnswer {
  readonly status: number;
  readonly challenge: string | undefined;
  readonly nonce: string | undefined;
  readonly text: string;
}

/** Calls a tool of the MCP server with those headers, as a single request (MCP 2026-07-28). */
export async function toolCall(
  resource: string,
  headers: Readonly<Record<string, string | undefined>>,
  tool = 'whoami',
): Promise<ToolAnswer> {
  const response = await fetch(resource, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...(headers as Record<string, string>),
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: tool, arguments: {} },
    }),
  });
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate') ?? undefined,
    nonce: response.headers.get('dpop-nonce') ?? undefined,
    text: await response.text(),
  };
}

/** Calls a tool with the vault's token, whether it is bound to a key or not. */
export async function toolCallBy(
  vault: Vault,
  resource: string,
  { tool, nonce, account }: { tool?: string; nonce?: string | undefined; account?: string } = {},
): Promise<ToolAnswer> {
  const request = defined({ method: 'POST', url: resource, nonce });
  return toolCall(resource, { ...(await vault.headers(resource, defined({ request, account }))) }, tool);
}
