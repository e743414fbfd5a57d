--- What a person has set, over the defaults. Settings of the server go to the server.
local M = {}

---@class seed.Config
---@field cmd string[]? starts the server; by default it is looked for
---@field debounce_ms integer how long to wait for another key before asking
---@field keys table<string, string|false>|false keys of insert mode; a default gives way to yours
---@field preview boolean show edits before they are made
---@field settings table settings of the server, as in docs/settings.md
M.defaults = {
  cmd = nil,
  debounce_ms = 25,
  keys = {
    accept = "<C-l>",
    accept_word = "<M-Right>",
    accept_line = "<M-C-Right>",
    next = "<M-]>",
    previous = "<M-[>",
    dismiss = "<C-]>",
  },
  preview = true,
  settings = {},
}

local TYPES = {
  cmd = { "table" },
  debounce_ms = { "number" },
  keys = { "table", "boolean" },
  preview = { "boolean" },
  settings = { "table" },
}

M.values = vim.deepcopy(M.defaults)
M.chosen_keys = {} ---@type table<string, boolean> those that the person has named

local function tell(message)
  vim.notify("seed: " .. message, vim.log.levels.WARN)
end

--- Take over options; a bad one is told in one sentence and left out.
---@param options table?
function M.set(options)
  M.values, M.chosen_keys = vim.deepcopy(M.defaults), {}
  for name, value in pairs(options or {}) do
    local types = TYPES[name]
    if not types then
      tell(("there is no option %s; see :help seed-options."):format(name))
    elseif not vim.list_contains(types, type(value)) then
      tell(("the option %s is no %s, it is left out."):format(name, table.concat(types, " or ")))
    elseif name == "keys" and type(value) == "table" then
      for action, key in pairs(value) do
        if M.defaults.keys[action] == nil then
          tell(("there is no key for %s; see :help seed-keys."):format(action))
        else
          M.values.keys[action] = key
          M.chosen_keys[action] = true
        end
      end
    else
      M.values[name] = value
    end
  end
end

return M
