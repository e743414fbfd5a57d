--- What a configuration may call; see :help seed.
local M = {}

--- Set options; without it the defaults hold. May be called at any time, and again.
---@param options seed.Config?
function M.setup(options)
  local config = require("seed.config")
  config.set(options)
  for _, client in ipairs(vim.lsp.get_clients({ name = "seed_lsp" })) do
    require("seed.server").use_settings(client)
    client:notify("workspace/didChangeConfiguration", { settings = client.settings })
    require("seed.keys").apply()
  end
end

--- Each does something only if a suggestion is shown, and returns whether one was.
function M.accept()
  return require("seed.keys").actions.accept()
end

function M.accept_word()
  return require("seed.keys").actions.accept_word()
end

function M.accept_line()
  return require("seed.keys").actions.accept_line()
end

function M.dismiss()
  return require("seed.keys").actions.dismiss()
end

--- Another text for the place; the first time the server is asked for more.
function M.next()
  require("seed.inline").cycle(1)
end

function M.previous()
  require("seed.inline").cycle(-1)
end

--- Ask by hand, also where nothing comes by itself.
function M.trigger()
  require("seed.inline").trigger()
end

--- Bring back the latest suggestion of this buffer.
function M.last()
  require("seed.command").last()
end

---@param minutes number? 5 if absent, 0 ends it
function M.snooze(minutes)
  require("seed.command").snooze(minutes)
end

---@param is_on boolean? the opposite if absent
function M.toggle(is_on)
  require("seed.command").toggle(is_on)
end

--- Rewrite lines, or the function at the cursor.
---@param instruction string? asked for if absent
---@param first integer? line, from 1
---@param last integer?
function M.rewrite(instruction, first, last)
  require("seed.edit").rewrite(instruction or "", first, last)
end

--- Choose one of the edits for lines, or for the function at the cursor.
---@param first integer? line, from 1
---@param last integer?
function M.edit(first, last)
  require("seed.edit").choose(first, last)
end

--- Whether gray text is shown.
---@return boolean
function M.is_visible()
  return require("seed.inline").shown() ~= nil
end

--- A few characters for a status line.
---@return string
function M.status()
  return require("seed.status").text()
end

return M
