--- `:checkhealth seed`: what is wrong, and what to do about it.
local config = require("seed.config")
local server = require("seed.server")
local status = require("seed.status")

local M = {}
local health = vim.health

local function check_command()
  local command = server.command()
  if not command then
    local chosen = config.values.cmd
    return health.error(("%s was not found"):format(chosen and chosen[1] or "seed-lsp"), {
      "Run `make setup` in the checkout this plugin is in,",
      "or put seed-lsp on PATH, or name it: require('seed').setup({ cmd = { PATH, '--stdio' } })",
    })
  end
  local is_there, done = pcall(function()
    return vim.system({ command[1], "--version" }, { text = true, timeout = 10000 }):wait()
  end)
  if not is_there or done.code ~= 0 then
    return health.error(command[1] .. " does not start", { "Run it with doctor in a terminal." })
  end
  health.ok(("%s, version %s"):format(command[1], vim.trim(done.stdout)))
end

local function check_clients()
  if not vim.lsp.is_enabled(server.NAME) then
    return health.warn("seed_lsp is not enabled", { 'vim.lsp.enable("seed_lsp")' })
  end
  local clients = vim.lsp.get_clients({ name = server.NAME })
  if #clients == 0 then
    health.info("No server runs; it starts with the first file that has a filetype.")
  end
  for _, client in ipairs(clients) do
    local count = vim.tbl_count(client.attached_buffers)
    health.ok(("a server runs for %d buffers, %s"):format(count, client.offset_encoding))
  end
  local says = status.current.state == "failed" and health.error or health.info
  says(("%s: %s"):format(status.current.state, status.current.message))
end

local function check_keys()
  for action, key in vim.spairs(config.values.keys or {}) do
    local map = key and vim.fn.maparg(key, "i", false, true) or {}
    if key and not vim.tbl_isempty(map) and not vim.startswith(map.desc or "", "seed:") then
      health.warn(("%s does something else, so there is no key for %s"):format(key, action), {
        ("require('seed').setup({ keys = { %s = KEY } }) names one"):format(action),
      })
    end
  end
end

function M.check()
  health.start("seed: Neovim")
  if vim.fn.has("nvim-0.11") == 1 then
    health.ok(tostring(vim.version()))
  else
    health.error("Neovim 0.11 or newer is needed")
  end
  health.start("seed: server")
  check_command()
  check_clients()
  health.start("seed: keys")
  check_keys()
  for _, name in ipairs({ "cmp", "blink.cmp" }) do
    if package.loaded[name] then
      health.info(("%s is loaded: gray text hides while its menu is open"):format(name))
    end
  end
end

return M
