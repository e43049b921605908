// Package apikey makes, checks and counts API keys (SPEC AK1–AK4, SECURITY I18).
package apikey
