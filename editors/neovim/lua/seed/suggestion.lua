--- One suggestion: texts for a place, best first, and what typing has left of them.
---
--- Text that was shown only grows, whatever the server says later. Knows neither the screen nor the
--- server.
local place = require("seed.place")
local text = require("seed.text")

---@class seed.Suggestion
---@field origin seed.Place where its texts begin
---@field texts string[]
---@field index integer which of them is shown
---@field session string? names it in updates
---@field command table? what the server wants to be told of its acceptance
local M = {}
M.__index = M

---@param command table? as `seed.accept` is offered
---@return string?
local function session_of(command)
  return command and command.arguments and command.arguments[2]
end

---@param origin seed.Place
---@param texts string[] at least one
---@param command table?
---@return seed.Suggestion
function M.new(origin, texts, command)
  local session = session_of(command)
  local fields = { origin = origin, texts = texts, index = 1, session = session, command = command }
  return setmetatable(fields, M)
end

--- What is to be shown at a place; nil if the suggestion says nothing about it.
---@param now seed.Place
---@return string?
function M:rest(now)
  local typed = place.typed(self.origin, now)
  local rest = typed and text.behind(self.texts[self.index], typed)
  return rest ~= "" and rest or nil
end

--- Take over a longer text for the place; one that is not longer changes nothing.
---@param now seed.Place
---@param longer string
function M:grow(now, longer)
  local typed = place.typed(self.origin, now)
  if typed and text.behind(typed .. longer, self.texts[1]) then
    self.texts[1] = typed .. longer
  end
end

--- Take over an answer for a place at which this is shown already.
---@param now seed.Place
---@param texts string[]
---@param command table?
function M:add(now, texts, command)
  local typed = place.typed(self.origin, now)
  if not typed then
    return
  end
  self.session = session_of(command) or self.session
  self:grow(now, texts[1])
  for _, other in ipairs(texts) do
    local is_part = vim.startswith(self.texts[1], typed .. other)
    if not is_part and not vim.list_contains(self.texts, typed .. other) then
      table.insert(self.texts, typed .. other)
    end
  end
end

--- Show the next text that goes on from what was typed, or with -1 the one before.
---@param now seed.Place
---@param step 1|-1
---@return boolean whether there is another
function M:cycle(now, step)
  local shown, count = self.index, #self.texts
  for distance = 1, count - 1 do
    self.index = (shown - 1 + step * distance) % count + 1
    if self:rest(now) then
      return true
    end
  end
  self.index = shown
  return false
end

return M
