import { onTestFinished, vi } from 'vitest';
import type { LoginInteraction } from '../../src/login/types.ts';
import { Secret } from '../../src/secret.ts';
import type { Home } from '../support/homes/home.ts';
import { change, scripted } from '../support/homes/vault.ts';

/* Helpers that the tests of `holdfast/mcp` share. */

interface Call extends RequestInit {
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** A call of the test server's tool, as a client of revision 2026-07-28 sends it. */
export function whoami(signal?: AbortSignal): Call {
  return { ...call('tools/call', { name: 'whoami', arguments: {} }), ...(signal && { signal }) };
}

export function call(method: string, params: object = {}): Call {
  return {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-06-18',
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  };
}

/** Replaces the stored access token by an unknown one, as after a revocation; keeps the refresh token. */
export async function spoilAccessToken(home: Home, resource: string): Promise<void> {
  await change(home, resource, ({ tokens }) => ({
    tokens: { ...tokens, accessToken: new Secret('unknown') },
  }));
}

/** Does the same, and removes the refresh token too. */
export async function loseTokens(home: Home, resource: string): Promise<void> {
  await change(home, resource, ({ tokens }) => ({
    tokens: { ...tokens, accessToken: new Secret('unknown'), refreshToken: undefined },
  }));
}

/** Moves the clock so far that a vault reads again what other processes have stored. */
export function later(): void {
  const now = Date.now;
  const spy = vi.spyOn(Date, 'now').mockImplementation(() => now() + 1000);
  onTestFinished(() => spy.mockRestore());
}

/** Returns the scripted browser, and the number of times that it was opened. */
export function countingBrowser(): LoginInteraction & { readonly opened: number } {
  let opened = 0;
  return {
    authorize: async (url, hosts) => {
      opened += 1;
      await scripted?.authorize(url, hosts);
    },
    get opened() {
      return opened;
    },
  };
}
