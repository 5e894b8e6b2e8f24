/**
 * A process that asks @google/gemini-cli-core for a token, by the call that its MCP client makes. The first argument is
 * JSON: `{ resource, name, root }`, where root is the installed package; where its files lie is in the environment.
 */
import { obey } from '../storm/barrier.ts';

interface Provider {
  getValidToken(name: string, config: object): Promise<string | null>;
}

const { resource, name, root }: Record<'resource' | 'name' | 'root', string> = JSON.parse(
  process.argv[2] ?? '',
);
let provider: Provider | undefined;

obey(
  {
    open: async () => {
      // Its modules import each other in a circle, which only the package's root untangles.
      await import(`${root}/dist/index.js`);
      const module = (await import(`${root}/dist/src/mcp/oauth-provider.js`)) as {
        MCPOAuthProvider: new () => Provider;
      };
      provider = new module.MCPOAuthProvider();
    },
    ask: async () => {
      const token = await provider?.getValidToken(name, {});
      return [token ?? new Error('getValidToken gave none')];
    },
    close: async () => {
      // Nothing of it is open.
    },
  },
  resource,
);
