--- Keys of insert mode. One that has nothing to do does what it did before.
local config = require("seed.config")
local inline = require("seed.inline")
local text = require("seed.text")

local M = {}

M.actions = {
  accept = inline.accept,
  accept_word = function()
    return inline.accept(text.first_word)
  end,
  accept_line = function()
    return inline.accept(text.first_line)
  end,
  next = function()
    return inline.cycle(1)
  end,
  previous = function()
    return inline.cycle(-1)
  end,
  dismiss = inline.dismiss,
}

local mapped = {} ---@type table<string, string> keys by action

---@param action string
---@return string
function M.plug(action)
  return ("<Plug>(seed-%s)"):format(action:gsub("_", "-"))
end

--- Keep what a key does under another name, so that it can still be done.
---@return string what to type for it
local function put_aside(action, key)
  local before = vim.fn.maparg(key, "i", false, true)
  if vim.tbl_isempty(before) or before.buffer == 1 then
    return key
  end
  local name = ("<Plug>(seed-before-%s)"):format(action)
  before.lhs, before.lhsraw, before.lhsrawalt = name, vim.keycode(name), nil
  vim.fn.mapset(before)
  return name
end

--- Set the keys of the options; a default gives way to a map that is there.
function M.apply()
  local keys = config.values.keys
  for action in pairs(M.actions) do
    local key = keys and keys[action] or nil
    if mapped[action] and mapped[action] ~= key then
      pcall(vim.keymap.del, "i", mapped[action]) -- fails if somebody else has taken it away
      mapped[action] = nil
    end
    local is_free = key and vim.fn.maparg(key, "i") == ""
    if key and key ~= mapped[action] and (is_free or config.chosen_keys[action]) then
      local otherwise = put_aside(action, key)
      vim.keymap.set("i", key, function()
        return inline.shown() and M.plug(action) or otherwise
      end, { expr = true, remap = true, replace_keycodes = true, desc = "seed: " .. action })
      mapped[action] = key
    end
  end
end

return M
