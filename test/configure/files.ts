/* Configuration files as users and clients leave them, by the format of each client's documentation. */

/** Claude Code's own file: one long object, in which the servers are one key among many. */
export const CLAUDE_CODE = `{
  "numStartups": 42,
  "installMethod": "global",
  "mcpServers": {
    "github": {
      "type": "stdio",
      "command": "npx",
      "args": [
        "-y",
        "@modelcontextprotocol/server-github"
      ],
      "env": {
        "GITHUB_TOKEN": "ghp_kept"
      }
    }
  },
  "projects": {
    "/home/me/work": {
      "allowedTools": [],
      "mcpServers": {}
    }
  },
  "userID": "0f\\u00e9"
}
`;

export const CLAUDE_DESKTOP = `{
    "globalShortcut": "Alt+Space",
    "mcpServers": {
        "filesystem": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/me"]}
    }
}`;

/** With tabs, comments before, after and on the same line, and a trailing comma. */
export const VSCODE = `// Servers of the whole profile.
{
\t"inputs": [
\t\t{ "type": "promptString", "id": "key", "password": true }, // asked once
\t],
\t"servers": {
\t\t/* the browser */
\t\t"playwright": {
\t\t\t"type": "stdio",
\t\t\t"command": "npx",
\t\t\t"args": ["@playwright/mcp@latest"], // newest
\t\t}, // keep
\t\t// "old": { "type": "http", "url": "https://old.example.com/mcp" },
\t},
}
`;

/** Odd indentation, and no line end at the end of the file. */
export const GEMINI = `{
   "theme": "GitHub", // dark is "Dracula"
     "mcpServers":
   {
      "local":   { "command": "python",  "args": ["server.py"], "cwd": "./tools", "trust": false }
         // more to come
   },
   "telemetry": {"enabled": false}}`;

export const OPENCODE = `{
  "$schema": "https://opencode.ai/config.json",
  // Model
  "model": "anthropic/claude-sonnet-4-5",
  "autoupdate": true,
}
`;

export const CODEX = `# Codex
model = "gpt-5-codex"   # the good one
approval_policy = 'on-request'

notify = [
  "notify-send",   # desktop
  "Codex",
]

[mcp_servers.context7]
command = "npx"
args = ["-y", "@upstash/context7-mcp"]

[mcp_servers.context7.env]
API_KEY = "kept"

# Trusted by hand.
[projects."/home/me/work"]
trust_level = "trusted"

[tui]
banner = """
[mcp_servers.notion]
command = "not a table"
"""
`;

export const DOCKER_AGENT = `#!/usr/bin/env docker-agent
version: "2"

agents:
  root:
    model: anthropic/claude-sonnet-4-5
    description: A coding assistant   # shown in the list
    instruction: |
      You are an expert developer.

      - type: not a toolset
    toolsets:
      - type: filesystem
      - type: mcp
        ref: docker:duckduckgo   # search
        tools: ["search"]

      # Later: more of them.

    add_date: true
  helper:
    model: anthropic/claude-sonnet-4-5

models: {}
`;
