--- The server: where its command is, how it is started, asked and started again.
---
--- Knows neither suggestions nor windows; `handlers` does.
local config = require("seed.config")

local M = {}
M.NAME = "seed_lsp"
local MOST_RESTARTS, RESTART_MS = 5, 500
local STEADY_MS = 60000

local num_restarts = 0
local restarted_at = 0

--- What starts the server: the option, what is on PATH, or this checkout's own environment.
---@return string[]? command nil if there is none that can be run
function M.command()
  local chosen = config.values.cmd
  if chosen then
    return vim.fn.executable(chosen[1] or "") == 1 and chosen or nil
  end
  local found = vim.fn.exepath("seed-lsp")
  if found ~= "" then
    return { found, "--stdio" }
  end
  local here = vim.uv.fs_realpath(debug.getinfo(1, "S").source:sub(2))
  local own = vim.fs.joinpath(vim.fn.fnamemodify(here or "", ":h:h:h:h:h"), ".venv/bin/seed-lsp")
  return vim.fn.executable(own) == 1 and { own, "--stdio" } or nil
end

--- The client of a buffer once it can be asked.
---@param buf integer
---@return vim.lsp.Client?
function M.client(buf)
  local client = vim.lsp.get_clients({ bufnr = buf, name = M.NAME })[1]
  return client and client.initialized and not client:is_stopped() and client or nil
end

--- Run a command of the server.
---@param name string
---@param arguments any[]
---@param on_result fun(result: any, error: table?)?
---@param buf integer? the current one if absent
---@return boolean whether it was sent
function M.execute(name, arguments, on_result, buf)
  buf = buf or vim.api.nvim_get_current_buf()
  local client = M.client(buf) or vim.lsp.get_clients({ name = M.NAME })[1]
  if not client then
    return false
  end
  local params = { command = name, arguments = arguments }
  return (
    client:request("workspace/executeCommand", params, function(failure, result)
      if on_result then
        on_result(result ~= vim.NIL and result or nil, failure)
      end
    end, buf)
  )
end

local function start_again()
  if vim.lsp.is_enabled(M.NAME) then
    vim.lsp.enable(M.NAME) -- looks at every buffer once more
  end
end

--- The server has gone; unless it was told to, it is started again.
---@param code integer
---@param signal integer
local function on_exit(code, signal)
  local was_told = (code == 0 and signal == 0) or signal == 15 or vim.v.exiting ~= vim.NIL
  require("seed.inline").clear()
  if was_told then
    return require("seed.status").set({ state = "stopped", message = "The server has ended." })
  end
  local now = vim.uv.now()
  num_restarts = now - restarted_at > STEADY_MS and 1 or num_restarts + 1
  restarted_at = now
  if num_restarts > MOST_RESTARTS then
    return require("seed.status").set({
      state = "failed",
      message = "The server keeps ending; :checkhealth seed, then :Seed restart.",
    })
  end
  require("seed.status").set({ state = "restarting", message = "The server is started again." })
  vim.defer_fn(start_again, RESTART_MS * 2 ^ (num_restarts - 1))
end

--- A fresh server, or a fresh engine if the server runs.
function M.restart()
  num_restarts = 0
  if not M.execute("seed.restart", {}) then
    start_again()
  end
end

--- Have a client hand on what is set now. An empty table would be no object in JSON.
---@param client vim.lsp.Client
function M.use_settings(client)
  local others = (client.config.settings or {})["seed-lsp"]
  local own = next(config.values.settings) and config.values.settings
  client.settings = { ["seed-lsp"] = own or others or vim.empty_dict() }
end

--- What `vim.lsp.config` gets; see lsp/seed_lsp.lua.
---@return vim.lsp.Config
function M.config()
  return {
    cmd = function(dispatchers)
      local own = {
        on_exit = function(code, signal)
          -- Neovim would announce a failure in a message that stops all work until Enter is hit.
          dispatchers.on_exit(0, 0)
          vim.schedule(function()
            on_exit(code, signal)
          end)
        end,
      }
      return vim.lsp.rpc.start(assert(M.command()), vim.tbl_extend("force", dispatchers, own))
    end,
    root_dir = function(buf, on_dir)
      if M.command() then
        on_dir(vim.fs.root(buf, { ".git", "pyproject.toml", "seed-lsp.toml" }))
      else
        require("seed.status").set({ state = "failed", message = "seed-lsp was not found." })
        vim.notify_once("seed: seed-lsp was not found; see :checkhealth seed", vim.log.levels.WARN)
      end
    end,
    capabilities = {
      -- Edits go through `workspace/applyEdit`, so that each of them can be looked at first.
      textDocument = {
        codeAction = { dataSupport = false },
        inlineCompletion = { dynamicRegistration = false },
      },
      workspace = {
        workspaceEdit = {
          documentChanges = true,
          changeAnnotationSupport = { groupsOnLabel = false },
        },
      },
      experimental = { seed = { updates = true, instructions = true } },
    },
    before_init = function(params)
      if next(config.values.settings) then
        params.initializationOptions = config.values.settings
      end
    end,
    on_init = function(client)
      M.use_settings(client)
      local provider = client.server_capabilities.codeActionProvider
      if type(provider) == "table" then
        provider.resolveProvider = false -- our actions have commands; there is nothing to resolve
      end
    end,
    handlers = require("seed.handlers").handlers,
    commands = require("seed.handlers").commands,
  }
end

return M
